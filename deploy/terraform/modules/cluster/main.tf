# EKS in Auto Mode: AWS runs nodes, network plugin, volumes, load balancers and Pod Identity; the runbook says why.
locals {
  # A constant, for the manifests' network policies name the API server's address in it.
  service_cidr = "172.20.0.0/16"
  policies = {
    cluster = ["AmazonEKSClusterPolicy", "AmazonEKSComputePolicy", "AmazonEKSBlockStoragePolicy", "AmazonEKSLoadBalancingPolicy", "AmazonEKSNetworkingPolicy"]
    nodes   = ["AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly"]
  }
  attached = merge([for role, names in local.policies : { for name in names : "${role}/${name}" => { role = role, name = name } }]...)
  people = merge(
    { for arn in var.administrators : arn => "AmazonEKSClusterAdminPolicy" },
    { for arn in var.viewers : arn => "AmazonEKSViewPolicy" },
  )
}

data "aws_iam_policy_document" "trust" {
  for_each = { cluster = "eks", nodes = "ec2" }
  statement {
    actions = each.key == "cluster" ? ["sts:AssumeRole", "sts:TagSession"] : ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["${each.value}.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "this" {
  for_each           = data.aws_iam_policy_document.trust
  name               = "${var.name}-${each.key}"
  assume_role_policy = each.value.json
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each   = local.attached
  role       = aws_iam_role.this[each.value.role].name
  policy_arn = "arn:aws:iam::aws:policy/${each.value.name}"
}

# AWS' own policies let Auto Mode set no tags but its own; these are for ours, on what it makes for this very cluster.
data "aws_iam_policy_document" "tags" {
  dynamic "statement" {
    for_each = {
      ec2 = ["ec2:CreateFleet", "ec2:RunInstances", "ec2:CreateLaunchTemplate", "ec2:CreateVolume", "ec2:CreateSnapshot", "ec2:CreateNetworkInterface", "ec2:CreateSecurityGroup"]
      alb = ["elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:CreateTargetGroup", "elasticloadbalancing:CreateListener", "elasticloadbalancing:CreateRule"]
    }
    content {
      sid       = statement.key
      actions   = statement.value
      resources = ["arn:aws:${statement.key == "ec2" ? "ec2" : "elasticloadbalancing"}:${var.region}:${var.account}:*"]
      condition {
        test     = "StringEquals"
        variable = "aws:RequestTag/eks:eks-cluster-name"
        values   = ["$${aws:PrincipalTag/eks:eks-cluster-name}"]
      }
    }
  }
}

resource "aws_iam_role_policy" "tags" {
  name   = "tags"
  role   = aws_iam_role.this["cluster"].name
  policy = data.aws_iam_policy_document.tags.json
}

# Made before the cluster, which would make it without an end.
resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/eks/${var.name}/cluster"
  retention_in_days = var.log_days
  kms_key_id        = var.log_key_arn
}

resource "aws_eks_cluster" "this" {
  name                          = var.name
  role_arn                      = aws_iam_role.this["cluster"].arn
  version                       = var.kubernetes
  deletion_protection           = var.protected
  bootstrap_self_managed_addons = false
  enabled_cluster_log_types     = ["audit", "authenticator"]

  # Nobody is administrator only because he made it; who is, says `administrators`.
  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = false
  }
  # The pool of EKS' own parts. That of everything else has a limit, which EKS' own has not: see `base`.
  compute_config {
    enabled       = true
    node_pools    = ["system"]
    node_role_arn = aws_iam_role.this["nodes"].arn
  }
  kubernetes_network_config {
    service_ipv4_cidr = local.service_cidr
    elastic_load_balancing {
      enabled = true
    }
  }
  storage_config {
    block_storage {
      enabled = true
    }
  }
  vpc_config {
    subnet_ids              = var.subnet_ids
    endpoint_private_access = true
    endpoint_public_access  = length(var.api_cidrs) > 0
    public_access_cidrs     = length(var.api_cidrs) > 0 ? var.api_cidrs : null
  }
  encryption_config {
    resources = ["secrets"]
    provider {
      key_arn = var.secrets_key_arn
    }
  }
  # A version that AWS no longer supports is upgraded, instead of costing six times as much.
  upgrade_policy {
    support_type = "STANDARD"
  }

  depends_on = [aws_iam_role_policy_attachment.this, aws_iam_role_policy.tags, aws_cloudwatch_log_group.this]
}

resource "aws_eks_access_entry" "this" {
  for_each      = local.people
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.key
}

resource "aws_eks_access_policy_association" "this" {
  for_each      = local.people
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_eks_access_entry.this[each.key].principal_arn
  policy_arn    = "arn:aws:eks::aws:cluster-access-policy/${each.value}"
  access_scope {
    type = "cluster"
  }
}
