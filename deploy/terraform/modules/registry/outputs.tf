output "url" {
  value       = aws_ecr_repository.this.repository_url
  description = "Where the image is pushed to and pulled from."
}
