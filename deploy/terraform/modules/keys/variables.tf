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
