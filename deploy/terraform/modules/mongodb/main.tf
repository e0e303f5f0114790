# MongoDB Atlas: a replica set, reached through a peering alone, by the role of the platform's pods: there is no password.
resource "mongodbatlas_project" "this" {
  name   = var.name
  org_id = var.organization
  tags   = var.tags
}

resource "mongodbatlas_network_container" "this" {
  project_id       = mongodbatlas_project.this.id
  provider_name    = "AWS"
  region_name      = local.region
  atlas_cidr_block = var.cidr
}

resource "mongodbatlas_network_peering" "this" {
  project_id             = mongodbatlas_project.this.id
  container_id           = mongodbatlas_network_container.this.container_id
  provider_name          = "AWS"
  accepter_region_name   = var.region
  aws_account_id         = var.account
  vpc_id                 = var.vpc_id
  route_table_cidr_block = var.vpc_cidr
}

resource "aws_vpc_peering_connection_accepter" "this" {
  vpc_peering_connection_id = mongodbatlas_network_peering.this.connection_id
  auto_accept               = true
  tags                      = { Name = "${var.name}-mongodb" }
}

resource "aws_route" "this" {
  route_table_id            = var.route_table_id
  destination_cidr_block    = var.cidr
  vpc_peering_connection_id = aws_vpc_peering_connection_accepter.this.vpc_peering_connection_id
}

resource "mongodbatlas_project_ip_access_list" "vpc" {
  project_id = mongodbatlas_project.this.id
  cidr_block = var.vpc_cidr
  comment    = "The platform's VPC, through the peering"
  depends_on = [mongodbatlas_network_peering.this]
}

resource "mongodbatlas_advanced_cluster" "this" {
  project_id                     = mongodbatlas_project.this.id
  name                           = var.name
  cluster_type                   = "REPLICASET"
  mongo_db_major_version         = "8.0"
  backup_enabled                 = true
  pit_enabled                    = var.size.continuous_backup
  paused                         = !var.awake
  termination_protection_enabled = var.protected
  retain_backups_enabled         = var.keep_backups

  replication_specs {
    region_configs {
      provider_name = "AWS"
      region_name   = local.region
      priority      = 7
      electable_specs {
        instance_size = var.size.tier
        node_count    = 3
        disk_size_gb  = var.size.storage_gb
      }
      auto_scaling {
        disk_gb_enabled = true
      }
    }
  }

  dynamic "tags" {
    for_each = var.tags
    content {
      key   = tags.key
      value = tags.value
    }
  }

  # The network can be chosen only before the first cluster is in it.
  depends_on = [mongodbatlas_network_container.this]
}

resource "mongodbatlas_cloud_backup_schedule" "this" {
  project_id               = mongodbatlas_project.this.id
  cluster_name             = mongodbatlas_advanced_cluster.this.name
  reference_hour_of_day    = 3
  reference_minute_of_hour = 0
  restore_window_days      = var.size.continuous_backup ? 7 : null

  policy_item_daily {
    frequency_interval = 1
    retention_unit     = "days"
    retention_value    = 14
  }
}

# Whoever holds the role may read and write this one database; Atlas asks AWS who it is.
resource "mongodbatlas_database_user" "pods" {
  project_id         = mongodbatlas_project.this.id
  username           = var.role_arn
  auth_database_name = "$external"
  aws_iam_type       = "ROLE"

  roles {
    role_name     = "readWrite"
    database_name = var.database
  }
  scopes {
    type = "CLUSTER"
    name = mongodbatlas_advanced_cluster.this.name
  }
}

locals {
  region = upper(replace(var.region, "-", "_"))
}
