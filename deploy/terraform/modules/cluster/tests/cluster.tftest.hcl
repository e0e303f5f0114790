mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }
}

variables {
  name            = "wafer-test"
  region          = "eu-central-1"
  account         = "111122223333"
  kubernetes      = "1.35"
  subnet_ids      = ["subnet-1", "subnet-2"]
  api_cidrs       = ["203.0.113.0/24"]
  administrators  = ["arn:aws:iam::111122223333:role/platform-engineers"]
  viewers         = ["arn:aws:iam::111122223333:role/process-engineers"]
  secrets_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/secrets"
  log_key_arn     = "arn:aws:kms:eu-central-1:111122223333:key/logs"
  log_days        = 30
  protected       = true
}

run "it_is_protected_and_its_secrets_are_encrypted" {
  assert {
    condition     = aws_eks_cluster.this.deletion_protection
    error_message = "It can be destroyed by mistake."
  }
  assert {
    condition     = aws_eks_cluster.this.encryption_config[0].provider[0].key_arn == var.secrets_key_arn && contains(aws_eks_cluster.this.encryption_config[0].resources, "secrets")
    error_message = "Its secrets are readable in etcd."
  }
}

run "auto_mode_is_on_as_a_whole" {
  assert {
    condition     = aws_eks_cluster.this.compute_config[0].enabled && aws_eks_cluster.this.storage_config[0].block_storage[0].enabled && aws_eks_cluster.this.kubernetes_network_config[0].elastic_load_balancing[0].enabled
    error_message = "AWS takes the three together, or none."
  }
}

run "only_those_who_are_named_may_do_anything" {
  assert {
    condition     = !aws_eks_cluster.this.access_config[0].bootstrap_cluster_creator_admin_permissions && aws_eks_cluster.this.access_config[0].authentication_mode == "API"
    error_message = "Whoever made it is its administrator for ever."
  }
  assert {
    condition     = { for arn, grant in aws_eks_access_policy_association.this : arn => reverse(split("/", grant.policy_arn))[0] } == { (one(var.administrators)) = "AmazonEKSClusterAdminPolicy", (one(var.viewers)) = "AmazonEKSViewPolicy" }
    error_message = "Somebody has other rights than were given."
  }
}

run "without_networks_its_api_is_inside_of_the_vpc_alone" {
  variables {
    api_cidrs = []
  }
  assert {
    condition     = !aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].endpoint_private_access
    error_message = "The API server is on the internet."
  }
}

run "nobody_pays_for_a_version_that_is_out_of_support" {
  assert {
    condition     = aws_eks_cluster.this.upgrade_policy[0].support_type == "STANDARD"
    error_message = "Extended support costs six times as much."
  }
}
