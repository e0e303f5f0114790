output "argocd_namespace" {
  value       = helm_release.argocd.namespace
  description = "Where Argo CD and its applications are."
}
