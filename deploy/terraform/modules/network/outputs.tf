output "vpc_id" {
  value       = aws_vpc.this.id
  description = "The VPC."
}

output "private_subnet_ids" {
  value       = [for subnet in aws_subnet.private : subnet.id]
  description = "Subnets of nodes and databases, one a zone."
}

output "private_route_table_id" {
  value       = aws_route_table.private.id
  description = "Route table of the private subnets."
}

output "public_subnet_ids" {
  value       = [for subnet in aws_subnet.public : subnet.id]
  description = "Subnets of the load balancer and of NAT, one a zone."
}

output "public_cidr" {
  value       = local.public_cidr
  description = "The network of all public subnets, and of no other."
}
