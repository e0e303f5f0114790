variable "name" {
  type        = string
  description = "First part of their names."
}

variable "secrets" {
  type        = map(string)
  description = "What each is for, by the last part of its name."
}

variable "key_arn" {
  type        = string
  description = "KMS key of the secrets."
}

variable "protected" {
  type        = bool
  description = "Whether one that is destroyed can be had back for 30 days."
}
