output "names" {
  value       = { for use, bucket in aws_s3_bucket.this : use => bucket.bucket }
  description = "Buckets by use: landing, lake, logs."
}

output "arns" {
  value       = { for use, bucket in aws_s3_bucket.this : use => bucket.arn }
  description = "ARNs by use: landing, lake, logs."
}
