mock_provider "aws" {}
mock_provider "mongodbatlas" {
  mock_resource "mongodbatlas_advanced_cluster" {
    defaults = { connection_strings = [{ private = "", private_endpoint = [], private_srv = "mongodb+srv://wafer-pri.example.mongodb.net", standard = "", standard_srv = "" }] }
  }
}

variables {
  name           = "wafer-test"
  organization   = "0123456789abcdef01234567"
  region         = "eu-central-1"
  account        = "111122223333"
  vpc_id         = "vpc-1"
  vpc_cidr       = "10.0.0.0/16"
  route_table_id = "rtb-1"
  cidr           = "192.168.248.0/21"
  size           = { tier = "M10", storage_gb = 10, continuous_backup = true }
  database       = "wafer"
  role_arn       = "arn:aws:iam::111122223333:role/wafer-test-runs"
  tags           = { project = "wafer", environment = "test", owner = "me" }
  awake          = true
  protected      = true
  keep_backups   = true
}

run "the_pods_read_and_write_one_database_and_have_no_password" {
  assert {
    condition     = [for role in mongodbatlas_database_user.pods.roles : "${role.role_name}@${role.database_name}"] == ["readWrite@wafer"]
    error_message = "The pods may do more in MongoDB than they need."
  }
  assert {
    condition     = mongodbatlas_database_user.pods.password == null && mongodbatlas_database_user.pods.aws_iam_type == "ROLE" && mongodbatlas_database_user.pods.username == var.role_arn
    error_message = "There is a password, and it is in the state."
  }
}

run "only_the_vpc_reaches_it" {
  assert {
    condition     = mongodbatlas_project_ip_access_list.vpc.cidr_block == "10.0.0.0/16" && aws_route.this.destination_cidr_block == "192.168.248.0/21"
    error_message = "Others reach it, or the VPC does not."
  }
}

run "it_is_protected_backed_up_and_tagged" {
  assert {
    condition     = mongodbatlas_advanced_cluster.this.termination_protection_enabled && mongodbatlas_advanced_cluster.this.backup_enabled && mongodbatlas_advanced_cluster.this.pit_enabled
    error_message = "It can be lost."
  }
  assert {
    condition     = tomap({ for tag in mongodbatlas_advanced_cluster.this.tags : tag.key => tag.value }) == tomap(var.tags)
    error_message = "It does not say whose it is."
  }
}
