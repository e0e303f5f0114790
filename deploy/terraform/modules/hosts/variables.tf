variable "zone" {
  type        = string
  description = "Name of the Route 53 zone."
}

variable "domain" {
  type        = string
  description = "Domain of the hosts, in the zone."
}
