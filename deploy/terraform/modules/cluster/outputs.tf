output "name" {
  value       = aws_eks_cluster.this.name
  description = "Name of the cluster."
}

output "security_group_id" {
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  description = "Security group of the nodes."
}

output "node_role" {
  value       = aws_iam_role.this["nodes"].name
  description = "Role of the nodes."
}

output "api_address" {
  value       = "${cidrhost(local.service_cidr, 1)}/32"
  description = "The API server as pods know it."
}
