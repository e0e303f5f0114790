# What each service account may do in AWS: a role, and all of its rights. Nobody may delete a version of an object.
# Who may not list a bucket is told 403 of objects that do not exist, where the platform waits for 404: hence ListBucket.
locals {
  bucket = module.buckets.arns
  list   = ["s3:ListBucket"]
  read   = ["s3:GetObject"]
  write  = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
  # Whoever reads and writes what is encrypted with a key.
  use_key = { actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = [module.keys.arns["data"]] }
  logs    = { actions = local.write, resources = ["${local.bucket["logs"]}/dagster/*"] }

  identities = {
    # Code location, run pods and step pods: everything that handles wafers.
    runs = {
      namespaces      = ["wafer", "wafer-runs"]
      service_account = "wafer-runs"
      rights = [
        { actions = local.list, resources = [local.bucket["landing"], local.bucket["lake"], local.bucket["logs"]] },
        { actions = local.read, resources = flatten([for prefix in values(var.lines) : [for feed in local.feeds : "${local.bucket["landing"]}/${prefix}/${feed}/*"]]) },
        { actions = local.write, resources = [for line in keys(var.lines) : "${local.bucket["lake"]}/${line}/*"] },
        { actions = local.write, resources = ["${local.bucket["lake"]}/runs/*"] },
        local.logs,
        local.use_key,
      ]
    }
    # Webserver and daemon: start runs and read their logs, and may not see a wafer.
    dagster = {
      namespaces      = ["wafer"]
      service_account = "dagster"
      rights = [
        { actions = local.list, resources = [local.bucket["logs"]] },
        local.logs,
        local.use_key,
      ]
    }
    mlflow = {
      namespaces      = ["wafer"]
      service_account = "mlflow"
      rights = [
        { actions = local.list, resources = [local.bucket["lake"]] },
        { actions = local.write, resources = ["${local.bucket["lake"]}/mlflow/*"] },
        local.use_key,
      ]
    }
    external-secrets = {
      namespaces      = ["external-secrets"]
      service_account = "external-secrets"
      rights = [
        { actions = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"], resources = values(module.secrets.arns) },
        { actions = ["kms:Decrypt"], resources = [module.keys.arns["secrets"]] },
      ]
    }
    external-dns = {
      namespaces      = ["external-dns"]
      service_account = "external-dns"
      rights = [
        { actions = ["route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets", "route53:ListTagsForResources"], resources = [module.hosts.zone_arn] },
        # It has no resources to name.
        { actions = ["route53:ListHostedZones"], resources = ["*"] },
      ]
    }
  }
}

module "identity" {
  source          = "../modules/identity"
  for_each        = local.identities
  name            = "${local.name}-${each.key}"
  cluster_arn     = local.cluster_arn
  rights          = each.value.rights
  cluster         = one(module.cluster[*].name)
  cluster_count   = var.awake ? 1 : 0
  namespaces      = each.value.namespaces
  service_account = each.value.service_account
}
