variable "name" {
  type        = string
  description = "Name of the cluster and all that is made."
}

variable "region" {
  type        = string
  description = "AWS region."
}

variable "account" {
  type        = string
  description = "AWS account."
}

variable "kubernetes" {
  type        = string
  description = "Version of Kubernetes."
}

variable "subnet_ids" {
  type        = list(string)
  description = "Private subnets of nodes and API server."
}

variable "api_cidrs" {
  type        = list(string)
  description = "Networks outside of the VPC that may reach the API server."
}

variable "administrators" {
  type        = set(string)
  description = "IAM roles or users that may do everything in the cluster."
}

variable "viewers" {
  type        = set(string)
  description = "IAM roles or users that may look at everything but secrets."
}

variable "secrets_key_arn" {
  type        = string
  description = "KMS key of the cluster's secrets."
}

variable "log_key_arn" {
  type        = string
  description = "KMS key of the logs."
}

variable "log_days" {
  type        = number
  description = "Days that logs are kept."
}

variable "protected" {
  type        = bool
  description = "Whether the cluster refuses to be destroyed."
}
