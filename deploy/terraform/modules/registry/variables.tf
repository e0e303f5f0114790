variable "name" {
  type        = string
  description = "Name of all that is made."
}

variable "key_arn" {
  type        = string
  description = "KMS key of the images."
}

variable "protected" {
  type        = bool
  description = "Whether a repository that holds images refuses to be destroyed."
}
