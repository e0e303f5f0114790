variable "project" {
  type        = string
  description = "First part of every name, and the tag `project`."
  default     = "wafer"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,11}$", var.project))
    error_message = "`project` is ${var.project}: 2 to 12 lower-case letters and digits, a letter first, for it is part of buckets' names."
  }
}

variable "environment" {
  type        = string
  description = "Second part of every name, and the tag `environment`."

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,11}$", var.environment))
    error_message = "`environment` is ${var.environment}: 2 to 12 lower-case letters and digits, a letter first."
  }
}

variable "owner" {
  type        = string
  description = "Team that answers for it: the tag `owner`."

  validation {
    condition     = length(trimspace(var.owner)) > 0
    error_message = "`owner` is empty: name the team that answers for what this costs."
  }
}

variable "region" {
  type        = string
  description = "AWS region; needs EKS Auto Mode, and as many zones as `zones`."

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region)) && !can(regex("^(cn|us-gov|us-iso)", var.region))
    error_message = "`region` is ${var.region}: write it as AWS does, such as eu-central-1. China and GovCloud are clouds of their own, and not supported."
  }
}

variable "account" {
  type        = string
  description = "AWS account; with credentials of any other nothing is done."

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account))
    error_message = "`account` is ${var.account}: the account's 12 digits, in quotes."
  }
}

variable "bucket_suffix" {
  type        = string
  description = "End of the buckets' names, which are unique in the world; the account's number if it is null. Another one where a name is taken."
  default     = null

  validation {
    condition     = var.bucket_suffix == null || can(regex("^[a-z0-9][a-z0-9-]{1,23}$", var.bucket_suffix))
    error_message = "`bucket_suffix` is ${coalesce(var.bucket_suffix, "null")}: 2 to 24 lower-case letters, digits and hyphens, no hyphen first."
  }
}

variable "network" {
  type        = object({ cidr = string, mongodb_cidr = string, zones = number })
  description = "Networks of the VPC and of Atlas, which must not overlap, nor overlap with yours; number of availability zones."

  validation {
    condition     = can(cidrhost(var.network.cidr, 0)) && can(regex("/1[678]$", var.network.cidr)) && try(cidrhost(var.network.cidr, 0) == split("/", var.network.cidr)[0], false)
    error_message = "`network.cidr` is ${var.network.cidr}: a private network of /16 to /18, such as 10.0.0.0/16, written by its first address."
  }
  validation {
    condition     = can(cidrhost(var.network.mongodb_cidr, 0)) && can(regex("/2[1-4]$", var.network.mongodb_cidr))
    error_message = "`network.mongodb_cidr` is ${var.network.mongodb_cidr}: a private network of /21 to /24, such as 192.168.248.0/21."
  }
  validation {
    condition = try(
      cidrhost("${split("/", var.network.mongodb_cidr)[0]}/${split("/", var.network.cidr)[1]}", 0) != cidrhost(var.network.cidr, 0),
      true,
    )
    error_message = "`network.mongodb_cidr` ${var.network.mongodb_cidr} is inside of `network.cidr` ${var.network.cidr}: no traffic would leave for Atlas. Choose another."
  }
  validation {
    condition     = !startswith(var.network.cidr, "172.20.") && !startswith(var.network.mongodb_cidr, "172.20.")
    error_message = "172.20.0.0/16 is the network of the cluster's own services. Choose another."
  }
  validation {
    condition     = contains([2, 3], var.network.zones)
    error_message = "`network.zones` is ${var.network.zones}: 2 or 3. EKS and RDS need two."
  }
}

variable "access" {
  type = object({
    administrators = set(string)
    viewers        = set(string)
    api_cidrs      = list(string)
  })
  description = "IAM roles or users that may do everything, or look, in the cluster; networks from which its API may be reached besides the VPC."

  validation {
    condition     = length(var.access.administrators) > 0
    error_message = "`access.administrators` is empty: name the IAM role that runs Terraform, or nobody could install anything in the cluster."
  }
  validation {
    condition     = alltrue([for arn in setunion(var.access.administrators, var.access.viewers) : can(regex("^arn:aws:iam::[0-9]{12}:(role|user)/[^*]+$", arn))])
    error_message = "`access` holds ${join(", ", setunion(var.access.administrators, var.access.viewers))}: each is the ARN of an IAM role or user, arn:aws:iam::<account>:role/<name>."
  }
  validation {
    condition     = length(setintersection(var.access.administrators, var.access.viewers)) == 0
    error_message = "The same ARN is in `access.administrators` and in `access.viewers`: keep it in one."
  }
  validation {
    condition     = alltrue([for cidr in var.access.api_cidrs : can(cidrhost(cidr, 0)) && !endswith(cidr, "/0")])
    error_message = "`access.api_cidrs` holds ${join(", ", var.access.api_cidrs)}: networks such as 203.0.113.0/24, and never the whole internet."
  }
}

variable "hosts" {
  type        = object({ zone = string, domain = string, allowed_cidrs = list(string), public = bool })
  description = "Route 53 zone; domain in it of the hosts wafer, wafer-view and mlflow; who may reach the load balancer on 443, and whether it is on the internet."

  validation {
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.hosts.domain)) && (var.hosts.domain == var.hosts.zone || endswith(var.hosts.domain, ".${var.hosts.zone}"))
    error_message = "`hosts.domain` ${var.hosts.domain} is no domain of the zone ${var.hosts.zone}: use the zone itself or a name below it."
  }
  validation {
    condition     = length(var.hosts.allowed_cidrs) > 0 && alltrue([for cidr in var.hosts.allowed_cidrs : can(cidrhost(cidr, 0))])
    error_message = "`hosts.allowed_cidrs` is ${join(", ", var.hosts.allowed_cidrs)}: networks such as 10.0.0.0/16, one at least."
  }
}

variable "sign_in" {
  type        = object({ issuer = string, operators_group = string, viewers_group = string, proxy_image = string })
  description = "OIDC provider that people sign in with, its groups of who may change things and who may look, and the image of oauth2-proxy."

  validation {
    condition     = can(regex("^https://[^/\\s]+(/[^\\s]*)?$", var.sign_in.issuer))
    error_message = "`sign_in.issuer` is ${var.sign_in.issuer}: the provider's address, with https://."
  }
  validation {
    condition     = length(var.sign_in.operators_group) > 0 && length(var.sign_in.viewers_group) > 0
    error_message = "`sign_in` names no group: without one everybody who can sign in would be let through."
  }
  validation {
    condition     = can(regex("^[^@\\s]+/[^@:\\s]+@sha256:[0-9a-f]{64}$", var.sign_in.proxy_image))
    error_message = "`sign_in.proxy_image` is ${var.sign_in.proxy_image}: repository@sha256:digest of oauth2-proxy, in a registry that nodes can pull from. A tag can be given another meaning."
  }
}

variable "lines" {
  type        = map(string)
  description = "Production lines, each with the prefix of its files in the landing bucket: `files.landing` of its line.yaml, by default its name."

  validation {
    condition     = length(var.lines) > 0 && alltrue([for line, prefix in var.lines : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", line)) && can(regex("^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*$", prefix))])
    error_message = "`lines` is ${jsonencode(var.lines)}: at least one line, by its name, with a prefix such as secom or fab-2/etch, without a slash at either end."
  }
  validation {
    condition     = alltrue([for line in keys(var.lines) : !contains(["mlflow", "runs"], line)])
    error_message = "A line cannot be called mlflow or runs: these folders of the lake are the platform's own."
  }
}

variable "partners" {
  type = map(object({
    principal   = string
    external_id = string
    writes      = map(set(string))
  }))
  description = "Partners who send files: the IAM role they come with, the external id they say, and the feeds (training, prediction) of each line that they write."
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.partners) : can(regex("^[a-z0-9-]{2,24}$", name))])
    error_message = "Partners' names are ${join(", ", keys(var.partners))}: 2 to 24 lower-case letters, digits and hyphens."
  }
  validation {
    condition     = alltrue([for partner in values(var.partners) : can(regex("^arn:aws:iam::[0-9]{12}:(role|user)/[^*]+$", partner.principal))])
    error_message = "A partner's `principal` is the ARN of one IAM role or user, never an account or everybody."
  }
  validation {
    condition     = alltrue([for partner in values(var.partners) : length(partner.external_id) >= 8])
    error_message = "A partner's `external_id` has 8 characters at least, and is another for each."
  }
  validation {
    condition     = length(distinct([for partner in values(var.partners) : partner.external_id])) == length(var.partners)
    error_message = "Two partners have the same `external_id`: one could come in the other's name."
  }
  validation {
    condition     = alltrue([for partner in values(var.partners) : length(partner.writes) > 0 && alltrue([for line, feeds in partner.writes : contains(keys(var.lines), line) && length(feeds) > 0 && length(setsubtract(feeds, ["training", "prediction"])) == 0])])
    error_message = "A partner's `writes` names lines of `lines` (${join(", ", keys(var.lines))}), each with the feeds training, prediction or both."
  }
}

variable "kubernetes" {
  type        = object({ version = string, max_vcpus = number, spot = bool })
  description = "Version of Kubernetes, most virtual CPUs that nodes may have together, and whether nodes may be spot instances, which AWS takes away at two minutes' notice."

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes.version))
    error_message = "`kubernetes.version` is ${var.kubernetes.version}: such as 1.35."
  }
  validation {
    condition     = var.kubernetes.max_vcpus >= 8
    error_message = "`kubernetes.max_vcpus` is ${var.kubernetes.max_vcpus}: the platform at rest asks for nearly 5, and a training for more. At least 8."
  }
}

variable "postgresql" {
  type = object({
    version        = string
    class          = string
    storage_gb     = number
    max_storage_gb = number
    multi_az       = bool
    backup_days    = number
  })
  description = "Version, instance class, storage and the most it may grow to, whether a standby is kept in another zone, and days of backups."

  validation {
    condition     = can(regex("^db\\.[a-z0-9]+\\.[a-z0-9]+$", var.postgresql.class))
    error_message = "`postgresql.class` is ${var.postgresql.class}: such as db.t4g.medium."
  }
  validation {
    condition     = var.postgresql.storage_gb >= 20 && var.postgresql.max_storage_gb > var.postgresql.storage_gb
    error_message = "`postgresql.storage_gb` is ${var.postgresql.storage_gb}, at most ${var.postgresql.max_storage_gb}: 20 at least, and room to grow."
  }
  validation {
    condition     = var.postgresql.backup_days >= 1 && var.postgresql.backup_days <= 35
    error_message = "`postgresql.backup_days` is ${var.postgresql.backup_days}: 1 to 35."
  }
}

variable "mongodb" {
  type        = object({ organization = string, tier = string, storage_gb = number, continuous_backup = bool })
  description = "Organization in Atlas, tier, storage, and whether it can be restored to any second of the last week."

  validation {
    condition     = can(regex("^[0-9a-f]{24}$", var.mongodb.organization))
    error_message = "`mongodb.organization` is ${var.mongodb.organization}: the 24 hexadecimal digits in the address of Atlas' page."
  }
  validation {
    condition     = can(regex("^M[1-9][0-9]+$", var.mongodb.tier))
    error_message = "`mongodb.tier` is ${var.mongodb.tier}: M10 or larger, where peering, backups and replica sets of one's own begin."
  }
}

variable "budget" {
  type        = object({ usd = number, emails = list(string) })
  description = "US dollars a month for the whole account, and who is told when they are nearly spent."

  validation {
    condition     = var.budget.usd > 0 && length(var.budget.emails) > 0 && alltrue([for email in var.budget.emails : can(regex("^[^@\\s]+@[^@\\s]+$", email))])
    error_message = "`budget` is ${var.budget.usd} USD for ${join(", ", var.budget.emails)}: more than 0, and one e-mail address at least."
  }
}

variable "log_days" {
  type        = number
  description = "Days that log groups are kept."

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365, 400, 731], var.log_days)
    error_message = "`log_days` is ${var.log_days}: CloudWatch takes 7, 14, 30, 60, 90, 180, 365, 400 or 731."
  }
}

variable "charts" {
  type = object({
    external_secrets = object({ repository = string, version = string })
    argocd           = object({ repository = string, version = string })
  })
  description = "Where the charts of the cluster's base come from, and their versions."

  validation {
    condition     = alltrue([for chart in values(var.charts) : can(regex("^(https|oci)://", chart.repository)) && can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", chart.version))])
    error_message = "A chart has the address of its repository (https:// or oci://) and one version, such as 1.2.3."
  }
}

variable "awake" {
  type        = bool
  description = "Whether there is a cluster, and the databases run. Without, what is stored stays, at nearly no cost."
  default     = true

  validation {
    condition     = var.awake || !var.protected
    error_message = "An environment that sleeps has no cluster, so it cannot be `protected`: set that to false too."
  }
}

variable "protected" {
  type        = bool
  description = "Whether cluster, databases, secrets and images refuse to be destroyed; `make destroy` takes it off."
}

variable "final_snapshot" {
  type        = string
  description = "Name of PostgreSQL's last backup, which `make destroy` offers; with it, Atlas' backups are kept too."
  default     = null
}
