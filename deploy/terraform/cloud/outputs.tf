output "name" {
  value       = local.name
  description = "First part of every name."
}

output "environment" {
  value = {
    ACCOUNT            = local.account
    REGION             = var.region
    NAME               = local.name
    REPOSITORY         = module.registry.url
    LANDING_BUCKET     = module.buckets.names["landing"]
    LAKE_BUCKET        = module.buckets.names["lake"]
    LOGS_BUCKET        = module.buckets.names["logs"]
    POSTGRESQL_ADDRESS = module.postgresql.address
    OPERATORS_HOST     = local.hosts.operators
    VIEWERS_HOST       = local.hosts.viewers
    MLFLOW_HOST        = local.hosts.mlflow
    OIDC_ISSUER        = var.sign_in.issuer
    OPERATORS_GROUP    = var.sign_in.operators_group
    VIEWERS_GROUP      = var.sign_in.viewers_group
    PROXY_IMAGE        = var.sign_in.proxy_image
    VPC_CIDR           = var.network.cidr
    BALANCER_CIDR      = module.network.public_cidr
    MONGODB_CIDR       = var.network.mongodb_cidr
  }
  description = "What differs between environments in Helm values and manifests; `make render` writes it where they read it."
}

output "base" {
  value = {
    account         = var.account
    region          = var.region
    tags            = local.tags
    cluster         = one(module.cluster[*].name)
    node_role       = one(module.cluster[*].node_role)
    max_vcpus       = var.kubernetes.max_vcpus
    spot            = var.kubernetes.spot
    certificate_arn = module.hosts.certificate_arn
    public          = var.hosts.public
    allowed_cidrs   = var.hosts.allowed_cidrs
    subnet_ids      = module.network.public_subnet_ids
    zone            = var.hosts.zone
    charts          = var.charts
  }
  description = "Variables of the cluster's base."
}

output "secrets" {
  value = {
    names         = { for name, arn in module.secrets.arns : name => "${local.name}/${name}" }
    mongo_uri     = module.mongodb.uri
    postgresql    = module.postgresql.address
    master_secret = module.postgresql.master_secret_arn
  }
  description = "What `make secrets` and `make databases` need; no value of a secret."
}

output "partners" {
  value = { for name, partner in var.partners : name => {
    role_arn = module.partner[name].role_arn
    prefixes = flatten([for line, feeds in partner.writes : [for feed in sort(feeds) : "s3://${module.buckets.names["landing"]}/${var.lines[line]}/${feed}/"]])
  } }
  description = "What to tell each partner: the role to take on, and where to write."
}
