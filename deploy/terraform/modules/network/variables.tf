variable "name" {
  type        = string
  description = "Name of all that is made."
}

variable "region" {
  type        = string
  description = "AWS region."
}

variable "account" {
  type        = string
  description = "AWS account."
}

variable "cidr" {
  type        = string
  description = "Network of the VPC."
}

variable "zones" {
  type        = number
  description = "Number of availability zones."
}

variable "nat" {
  type        = bool
  description = "Whether private subnets have a way out; what runs in the cluster needs it."
}

variable "log_days" {
  type        = number
  description = "Days that logs are kept."
}

variable "log_key_arn" {
  type        = string
  description = "KMS key of the logs."
}
