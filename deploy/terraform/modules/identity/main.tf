# What the pods of one service account, in one namespace or several, may do in AWS (EKS Pod Identity): its list of rights and nothing else.
data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]
    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }
    # No other cluster's pods, not even one of the same account.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceArn"
      values   = [var.cluster_arn]
    }
  }
}

data "aws_iam_policy_document" "rights" {
  dynamic "statement" {
    for_each = var.rights
    content {
      actions   = statement.value.actions
      resources = statement.value.resources
    }
  }
}

resource "aws_iam_role" "this" {
  name               = var.name
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "this" {
  name   = "rights"
  role   = aws_iam_role.this.name
  policy = data.aws_iam_policy_document.rights.json
}

resource "aws_eks_pod_identity_association" "this" {
  for_each        = var.cluster_count == 0 ? toset([]) : toset(var.namespaces)
  cluster_name    = var.cluster
  namespace       = each.value
  service_account = var.service_account
  role_arn        = aws_iam_role.this.arn
}
