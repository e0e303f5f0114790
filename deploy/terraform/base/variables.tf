# All of them are the output `base` of the stack `cloud`; the command hands them on.
variable "region" {
  type        = string
  description = "AWS region."
}

variable "account" {
  type        = string
  description = "AWS account."
}

variable "tags" {
  type        = map(string)
  description = "Tags of everything, what the cluster makes included."
}

variable "cluster" {
  type        = string
  description = "Name of the cluster."

  validation {
    condition     = length(var.cluster) > 0
    error_message = "There is no cluster: the environment sleeps. `make wake` it first."
  }
}

variable "node_role" {
  type        = string
  description = "Role of the nodes."
}

variable "max_vcpus" {
  type        = number
  description = "Most virtual CPUs that nodes may have together."
}

variable "spot" {
  type        = bool
  description = "Whether nodes may be spot instances."
}


variable "certificate_arn" {
  type        = string
  description = "Certificate of the hosts."
}

variable "public" {
  type        = bool
  description = "Whether the load balancer is on the internet."
}

variable "subnet_ids" {
  type        = list(string)
  description = "Subnets of the load balancer, in which no pod is."
}

variable "allowed_cidrs" {
  type        = list(string)
  description = "Networks that may reach the load balancer."
}

variable "zone" {
  type        = string
  description = "Route 53 zone that the hosts are written into."
}

variable "charts" {
  type = object({
    external_secrets = object({ repository = string, version = string })
    argocd           = object({ repository = string, version = string })
  })
  description = "Where charts come from, and their versions."
}
