variable "name" {
  type        = string
  description = "Name of the project and the cluster."
}

variable "organization" {
  type        = string
  description = "Id of the organization in Atlas."
}

variable "region" {
  type        = string
  description = "AWS region."
}

variable "account" {
  type        = string
  description = "AWS account of the VPC."
}

variable "vpc_id" {
  type        = string
  description = "The VPC."
}

variable "vpc_cidr" {
  type        = string
  description = "Network of the VPC."
}

variable "route_table_id" {
  type        = string
  description = "Route table of the private subnets."
}

variable "cidr" {
  type        = string
  description = "Network of Atlas; must not overlap with the VPC's."
}

variable "size" {
  type        = object({ tier = string, storage_gb = number, continuous_backup = bool })
  description = "Tier, storage that it begins with, and whether it can be restored to any second of a week."
}

variable "database" {
  type        = string
  description = "The one database."
}

variable "role_arn" {
  type        = string
  description = "IAM role that reads and writes it."
}

variable "tags" {
  type        = map(string)
  description = "Tags of project and cluster, for the provider of Atlas knows no default ones."
}

variable "awake" {
  type        = bool
  description = "Whether it runs. Atlas starts a paused one again after 30 days."
}

variable "protected" {
  type        = bool
  description = "Whether it refuses to be destroyed."
}

variable "keep_backups" {
  type        = bool
  description = "Whether its backups outlive it."
}
