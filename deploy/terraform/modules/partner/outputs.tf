output "role_arn" {
  value       = aws_iam_role.this.arn
  description = "The role that the partner takes on."
}
