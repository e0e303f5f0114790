# What a cluster needs before the platform can be installed: nodes, a way in, secrets, DNS, Argo CD.
resource "helm_release" "nodes" {
  name      = "nodes"
  namespace = "kube-system"
  chart     = "${path.module}/charts/nodes"
  values = [yamlencode({
    tags           = var.tags
    maxVcpus       = var.max_vcpus
    spot           = var.spot
    nodeRole       = var.node_role
    cluster        = var.cluster
    certificateArn = var.certificate_arn
    public         = var.public
    allowedCidrs   = var.allowed_cidrs
    subnetIds      = var.subnet_ids
  })]
}

# Auto Mode brings the other add-ons itself. These two need nodes, and so come after them.
resource "aws_eks_addon" "metrics" {
  cluster_name = var.cluster
  addon_name   = "metrics-server"
  depends_on   = [helm_release.nodes]
}

# Points the hosts at the load balancer, and forgets them when the ingresses go; `cloud` gives its account the role.
resource "aws_eks_addon" "dns" {
  cluster_name = var.cluster
  addon_name   = "external-dns"
  configuration_values = jsonencode({
    domainFilters = [var.zone]
    policy        = "sync"
    registry      = "txt"
    sources       = ["ingress"]
    txtOwnerId    = var.cluster
  })
  depends_on = [helm_release.nodes]
}

resource "helm_release" "external_secrets" {
  name             = "external-secrets"
  namespace        = "external-secrets"
  create_namespace = true
  repository       = var.charts.external_secrets.repository
  chart            = "external-secrets"
  version          = var.charts.external_secrets.version
  values           = [yamlencode({ installCRDs = true, serviceAccount = { name = "external-secrets" } })]
  depends_on       = [helm_release.nodes]
}

# Of a chart of its own: its kind exists only once the operator's chart is there.
resource "helm_release" "secrets" {
  name       = "secrets"
  namespace  = "external-secrets"
  chart      = "${path.module}/charts/secrets"
  values     = [yamlencode({ region = var.region })]
  depends_on = [helm_release.external_secrets]
}

resource "helm_release" "argocd" {
  name             = "argocd"
  namespace        = "argocd"
  create_namespace = true
  repository       = var.charts.argocd.repository
  chart            = "argo-cd"
  version          = var.charts.argocd.version
  values           = [file("${path.module}/argocd.yaml")]
  depends_on       = [helm_release.nodes, helm_release.secrets]
}
