# What differs between environments: all of it is in this file. `make render` carries it into Helm values and manifests.
# Everything that names example.com, 111122223333 or 0123… is yours to replace.
environment = "production"
owner       = "wafer-platform"
region      = "eu-central-1"
account     = "111122223333"

network = { cidr = "10.0.0.0/16", mongodb_cidr = "192.168.248.0/21", zones = 3 }

access = {
  administrators = ["arn:aws:iam::111122223333:role/platform-engineers"]
  viewers        = ["arn:aws:iam::111122223333:role/process-engineers"]
  api_cidrs      = ["203.0.113.0/24"] # your office or VPN; none: only from inside of the VPC
}

hosts = {
  zone          = "example.com"
  domain        = "example.com"
  allowed_cidrs = ["10.0.0.0/8"]
  public        = false
}

sign_in = {
  issuer          = "https://idp.example.com"
  operators_group = "wafer-operators"
  viewers_group   = "wafer-viewers"
  # oauth2-proxy v7.15.5, copied into a registry of yours.
  proxy_image = "registry.example.com/oauth2-proxy@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
}

# Each line with its prefix in the landing bucket: `files.landing` of its line.yaml, by default its name.
lines = { secom = "secom" }

# Who sends files: which role of theirs, and the feeds of each line that it may write.
partners = {
  fab = {
    principal   = "arn:aws:iam::444455556666:role/wafer-sender"
    external_id = "replace-me-fab"
    writes      = { secom = ["training", "prediction"] }
  }
}

kubernetes = { version = "1.35", max_vcpus = 32, spot = false }

postgresql = { version = "17", class = "db.t4g.medium", storage_gb = 50, max_storage_gb = 500, multi_az = true, backup_days = 14 }

mongodb = { organization = "0123456789abcdef01234567", tier = "M10", storage_gb = 10, continuous_backup = true }

budget = { usd = 1100, emails = ["wafer-platform@example.com"] }

log_days = 365

# Cluster, databases, secrets and images refuse to be destroyed; `make destroy` takes it off.
protected = true

charts = {
  external_secrets = { repository = "https://charts.example.com/external-secrets", version = "1.0.0" }
  argocd           = { repository = "https://charts.example.com/argo", version = "9.1.0" }
}
