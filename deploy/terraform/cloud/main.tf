# All of the platform that is not in the cluster: one environment of it.

locals {
  name    = "${var.project}-${var.environment}"
  tags    = { project = var.project, environment = var.environment, owner = var.owner }
  account = var.account
  # Known before the cluster is made, so that roles can name it and outlive it.
  cluster_arn = "arn:aws:eks:${var.region}:${local.account}:cluster/${local.name}"
  feeds       = ["training", "prediction"]
  hosts       = { operators = "wafer.${var.hosts.domain}", viewers = "wafer-view.${var.hosts.domain}", mlflow = "mlflow.${var.hosts.domain}" }
}

module "keys" {
  source  = "../modules/keys"
  name    = local.name
  region  = var.region
  account = local.account
}

module "network" {
  source      = "../modules/network"
  name        = local.name
  region      = var.region
  account     = local.account
  cidr        = var.network.cidr
  zones       = var.network.zones
  nat         = var.awake
  log_days    = var.log_days
  log_key_arn = module.keys.arns["logs"]
}

module "buckets" {
  source  = "../modules/buckets"
  name    = local.name
  suffix  = coalesce(var.bucket_suffix, local.account)
  key_arn = module.keys.arns["data"]
}

module "registry" {
  source    = "../modules/registry"
  name      = local.name
  key_arn   = module.keys.arns["data"]
  protected = var.protected
}

module "cluster" {
  source          = "../modules/cluster"
  count           = var.awake ? 1 : 0
  name            = local.name
  region          = var.region
  account         = local.account
  kubernetes      = var.kubernetes.version
  subnet_ids      = module.network.private_subnet_ids
  api_cidrs       = var.access.api_cidrs
  administrators  = var.access.administrators
  viewers         = var.access.viewers
  secrets_key_arn = module.keys.arns["secrets"]
  log_key_arn     = module.keys.arns["logs"]
  log_days        = var.log_days
  protected       = var.protected
}

module "postgresql" {
  source                   = "../modules/postgresql"
  name                     = local.name
  engine                   = var.postgresql.version
  size                     = var.postgresql
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.private_subnet_ids
  client_count             = var.awake ? 1 : 0
  client_security_group_id = one(module.cluster[*].security_group_id)
  data_key_arn             = module.keys.arns["data"]
  secrets_key_arn          = module.keys.arns["secrets"]
  log_key_arn              = module.keys.arns["logs"]
  log_days                 = var.log_days
  awake                    = var.awake
  protected                = var.protected
  final_snapshot           = var.final_snapshot
}

module "mongodb" {
  source         = "../modules/mongodb"
  name           = local.name
  organization   = var.mongodb.organization
  region         = var.region
  account        = local.account
  vpc_id         = module.network.vpc_id
  vpc_cidr       = var.network.cidr
  route_table_id = module.network.private_route_table_id
  cidr           = var.network.mongodb_cidr
  size           = var.mongodb
  database       = "wafer"
  role_arn       = module.identity["runs"].role_arn
  tags           = local.tags
  awake          = var.awake
  protected      = var.protected
  keep_backups   = var.protected || var.final_snapshot != null
}

module "secrets" {
  source    = "../modules/secrets"
  name      = local.name
  key_arn   = module.keys.arns["secrets"]
  protected = var.protected
  secrets = {
    postgresql   = "Password of Dagster's role in PostgreSQL"
    mlflow       = "MLflow's connection to PostgreSQL"
    stores       = "Connection to MongoDB, addresses of notifications, sign-in to MLflow"
    oauth2-proxy = "Client of the OIDC provider, and the key of the cookies"
  }
}

module "hosts" {
  source = "../modules/hosts"
  zone   = var.hosts.zone
  domain = var.hosts.domain
}

module "watch" {
  source     = "../modules/watch"
  name       = local.name
  budget_usd = var.budget.usd
  emails     = var.budget.emails
}

module "partner" {
  source      = "../modules/partner"
  for_each    = var.partners
  name        = "${local.name}-partner-${each.key}"
  principal   = each.value.principal
  external_id = each.value.external_id
  prefixes    = flatten([for line, feeds in each.value.writes : [for feed in sort(feeds) : "${var.lines[line]}/${feed}/"]])
  bucket_arn  = module.buckets.arns["landing"]
  key_arn     = module.keys.arns["data"]
}
