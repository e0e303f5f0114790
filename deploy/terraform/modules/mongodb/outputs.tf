output "uri" {
  value       = "${mongodbatlas_advanced_cluster.this.connection_strings[0].private_srv}/?authSource=%24external&authMechanism=MONGODB-AWS&retryWrites=true&w=majority"
  description = "How the pods connect, with their role and no password."
}
