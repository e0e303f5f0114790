variable "name" {
  type        = string
  description = "Name of the role."
}

variable "cluster" {
  type        = string
  description = "Name of the EKS cluster."
}

variable "cluster_count" {
  type        = number
  description = "1 if there is a cluster, else 0: the role outlives it."
}

variable "cluster_arn" {
  type        = string
  description = "ARN of the EKS cluster."
}

variable "namespaces" {
  type        = list(string)
  description = "Namespaces that have the service account."
}

variable "service_account" {
  type        = string
  description = "Service account whose pods take on the role."
}

variable "rights" {
  type        = list(object({ actions = list(string), resources = list(string) }))
  description = "Everything that the pods may do."

  validation {
    condition     = alltrue([for right in var.rights : alltrue([for action in right.actions : !strcontains(action, "*")])])
    error_message = "Name every action: a wildcard gives rights that nobody listed."
  }
}
