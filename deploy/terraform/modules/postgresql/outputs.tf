output "address" {
  value       = aws_db_instance.this.address
  description = "Host name."
}

output "master_secret_arn" {
  value       = aws_db_instance.this.master_user_secret[0].secret_arn
  description = "Where RDS keeps the master password."
}
