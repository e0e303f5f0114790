variable "name" {
  type        = string
  description = "Name of all that is made."
}

variable "suffix" {
  type        = string
  description = "End of the buckets' names, which are unique in the world."
}

variable "key_arn" {
  type        = string
  description = "KMS key of the objects."
}
