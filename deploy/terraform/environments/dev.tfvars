# What differs between environments: all of it is in this file. `make render` carries it into Helm values and manifests.
# Everything that names example.com, 111122223333 or 0123… is yours to replace.
environment = "dev"
owner       = "wafer-platform"
region      = "eu-central-1"
account     = "111122223333"

network = { cidr = "10.1.0.0/16", mongodb_cidr = "192.168.240.0/21", zones = 2 }

access = {
  administrators = ["arn:aws:iam::111122223333:role/platform-engineers"]
  viewers        = []
  api_cidrs      = ["203.0.113.0/24"] # your office or VPN; none: only from inside of the VPC
}

hosts = {
  zone          = "example.com"
  domain        = "dev.example.com"
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

partners = {}

kubernetes = { version = "1.35", max_vcpus = 16, spot = true }

postgresql = { version = "17", class = "db.t4g.micro", storage_gb = 20, max_storage_gb = 50, multi_az = false, backup_days = 1 }

mongodb = { organization = "0123456789abcdef01234567", tier = "M10", storage_gb = 10, continuous_backup = false }

budget = { usd = 450, emails = ["wafer-platform@example.com"] }

log_days = 30

# It can be destroyed without further ado, and sent to sleep: `awake = false` and an apply leave no cluster and no NAT
# gateway, and stop the databases. What is stored stays.
protected = false
awake     = true

charts = {
  external_secrets = { repository = "https://charts.example.com/external-secrets", version = "1.0.0" }
  argocd           = { repository = "https://charts.example.com/argo", version = "9.1.0" }
}
