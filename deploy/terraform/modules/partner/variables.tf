variable "name" {
  type        = string
  description = "Name of the role."
}

variable "principal" {
  type        = string
  description = "ARN of the partner's role or user that may take on this one."
}

variable "external_id" {
  type        = string
  description = "What the partner says when it takes on the role; it keeps others from doing so in its name."
}

variable "prefixes" {
  type        = list(string)
  description = "Prefixes that the partner writes below, each with its closing slash."
}

variable "bucket_arn" {
  type        = string
  description = "The landing bucket."
}

variable "key_arn" {
  type        = string
  description = "KMS key of the landing bucket."
}
