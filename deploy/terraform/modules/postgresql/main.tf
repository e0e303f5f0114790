# PostgreSQL for Dagster and MLflow. RDS makes and rotates the master password; it is in no state.
resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_security_group" "this" {
  name        = "${var.name}-postgresql"
  description = "PostgreSQL"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "nodes" {
  count                        = var.client_count
  description                  = "Nodes of the cluster"
  security_group_id            = aws_security_group.this.id
  referenced_security_group_id = var.client_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_db_parameter_group" "this" {
  name   = "${var.name}-${split(".", var.engine)[0]}"
  family = "postgres${split(".", var.engine)[0]}"
  # Refuse to speak in the clear.
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
}

# Made before the database, which would make them without an end.
resource "aws_cloudwatch_log_group" "this" {
  for_each          = toset(["postgresql", "upgrade"])
  name              = "/aws/rds/instance/${var.name}/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = var.log_key_arn
}

resource "aws_db_instance" "this" {
  identifier                      = var.name
  engine                          = "postgres"
  engine_version                  = var.engine
  instance_class                  = var.size.class
  allocated_storage               = var.size.storage_gb
  max_allocated_storage           = var.size.max_storage_gb
  multi_az                        = var.size.multi_az
  storage_type                    = "gp3"
  storage_encrypted               = true
  kms_key_id                      = var.data_key_arn
  username                        = "postgres"
  manage_master_user_password     = true
  master_user_secret_kms_key_id   = var.secrets_key_arn
  db_subnet_group_name            = aws_db_subnet_group.this.name
  vpc_security_group_ids          = [aws_security_group.this.id]
  parameter_group_name            = aws_db_parameter_group.this.name
  publicly_accessible             = false
  backup_retention_period         = var.size.backup_days
  copy_tags_to_snapshot           = true
  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = sort(keys(aws_cloudwatch_log_group.this))
  deletion_protection             = var.protected
  delete_automated_backups        = var.final_snapshot == null
  skip_final_snapshot             = var.final_snapshot == null && !var.protected
  final_snapshot_identifier       = coalesce(var.final_snapshot, "${var.name}-final")
}

resource "aws_rds_instance_state" "this" {
  identifier = aws_db_instance.this.identifier
  state      = var.awake ? "available" : "stopped"
}
