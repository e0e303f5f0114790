variable "name" {
  type        = string
  description = "Name of the database and all that is made."
}

variable "engine" {
  type        = string
  description = "Version of PostgreSQL."
}

variable "size" {
  type = object({
    class          = string
    storage_gb     = number
    max_storage_gb = number
    multi_az       = bool
    backup_days    = number
  })
  description = "Class of the instance, storage that it begins with and may grow to, a standby in another zone, days of backups."
}

variable "vpc_id" {
  type        = string
  description = "The VPC."
}

variable "subnet_ids" {
  type        = list(string)
  description = "Private subnets, in two zones at least."
}

variable "client_security_group_id" {
  type        = string
  description = "Who may connect; nobody where `client_count` is 0."
}

variable "client_count" {
  type        = number
  description = "1 if there is a cluster that connects, else 0: known before the cluster is made."
}

variable "data_key_arn" {
  type        = string
  description = "KMS key of the storage."
}

variable "secrets_key_arn" {
  type        = string
  description = "KMS key of the master password."
}

variable "log_key_arn" {
  type        = string
  description = "KMS key of the logs."
}

variable "log_days" {
  type        = number
  description = "Days that logs are kept."
}

variable "awake" {
  type        = bool
  description = "Whether it runs. AWS starts a stopped one again after seven days."
}

variable "protected" {
  type        = bool
  description = "Whether it refuses to be destroyed."
}

variable "final_snapshot" {
  type        = string
  description = "Name of a last backup, made as it is destroyed; null for none."
}
