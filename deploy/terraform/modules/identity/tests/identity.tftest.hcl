mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }
}

variables {
  name            = "wafer-test-runs"
  cluster         = "wafer-test"
  cluster_count   = 1
  cluster_arn     = "arn:aws:eks:eu-central-1:111122223333:cluster/wafer-test"
  namespaces      = ["wafer"]
  service_account = "wafer-runs"
  rights          = [{ actions = ["s3:GetObject"], resources = ["arn:aws:s3:::bucket/*"] }]
}

run "a_right_that_is_not_named_is_refused" {
  command = plan
  variables {
    rights = [{ actions = ["s3:Get*"], resources = ["arn:aws:s3:::bucket/*"] }]
  }
  expect_failures = [var.rights]
}

run "pods_of_this_cluster_alone_take_on_the_role" {
  assert {
    condition     = one(data.aws_iam_policy_document.trust.statement[0].condition).values == tolist([var.cluster_arn]) && one(data.aws_iam_policy_document.trust.statement[0].principals).identifiers == toset(["pods.eks.amazonaws.com"])
    error_message = "Pods of another cluster could take it on."
  }
}

run "the_role_outlives_a_cluster_that_sleeps" {
  variables {
    cluster       = null
    cluster_count = 0
  }
  assert {
    condition     = length(aws_eks_pod_identity_association.this) == 0 && aws_iam_role.this.name == "wafer-test-runs"
    error_message = "MongoDB knows the pods by this role: it must stay."
  }
}
