mock_provider "aws" {
  mock_resource "aws_db_instance" {
    defaults = { master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:mock", kms_key_id = "mock", secret_status = "active" }] }
  }
}

variables {
  name                     = "wafer-test"
  engine                   = "17"
  size                     = { class = "db.t4g.medium", storage_gb = 50, max_storage_gb = 500, multi_az = true, backup_days = 14 }
  vpc_id                   = "vpc-1"
  subnet_ids               = ["subnet-1", "subnet-2"]
  client_count             = 1
  client_security_group_id = "sg-nodes"
  data_key_arn             = "arn:aws:kms:eu-central-1:111122223333:key/data"
  secrets_key_arn          = "arn:aws:kms:eu-central-1:111122223333:key/secrets"
  log_key_arn              = "arn:aws:kms:eu-central-1:111122223333:key/logs"
  log_days                 = 30
  awake                    = true
  protected                = true
  final_snapshot           = null
}

run "it_is_encrypted_private_and_protected" {
  assert {
    condition     = aws_db_instance.this.storage_encrypted && aws_db_instance.this.kms_key_id == var.data_key_arn
    error_message = "Its storage is not encrypted with our key."
  }
  assert {
    condition     = !aws_db_instance.this.publicly_accessible && aws_db_instance.this.deletion_protection && aws_db_instance.this.multi_az
    error_message = "It is public, unprotected or alone."
  }
  assert {
    condition     = one(aws_db_parameter_group.this.parameter).name == "rds.force_ssl" && one(aws_db_parameter_group.this.parameter).value == "1"
    error_message = "It would speak in the clear."
  }
}

run "its_password_is_in_no_state" {
  assert {
    condition     = aws_db_instance.this.manage_master_user_password && aws_db_instance.this.password == null
    error_message = "Terraform knows the master password."
  }
}

run "nodes_alone_may_connect" {
  assert {
    condition     = aws_vpc_security_group_ingress_rule.nodes[0].referenced_security_group_id == "sg-nodes" && aws_vpc_security_group_ingress_rule.nodes[0].cidr_ipv4 == null
    error_message = "A network may connect."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.nodes[0].from_port == 5432 && aws_vpc_security_group_ingress_rule.nodes[0].to_port == 5432
    error_message = "Other ports are open."
  }
}

run "a_last_backup_is_made_where_it_is_asked_for" {
  variables {
    protected      = false
    final_snapshot = "wafer-test-final-1"
  }
  assert {
    condition     = !aws_db_instance.this.skip_final_snapshot && aws_db_instance.this.final_snapshot_identifier == "wafer-test-final-1" && !aws_db_instance.this.delete_automated_backups
    error_message = "Destroying it would keep nothing."
  }
}

run "asleep_it_is_stopped_and_nobody_connects" {
  variables {
    awake                    = false
    protected                = false
    client_count             = 0
    client_security_group_id = null
  }
  assert {
    condition     = aws_rds_instance_state.this.state == "stopped" && length(aws_vpc_security_group_ingress_rule.nodes) == 0
    error_message = "It goes on."
  }
}
