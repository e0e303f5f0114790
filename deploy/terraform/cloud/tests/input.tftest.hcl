# What people get wrong, one thing a run, in an environment that is right otherwise: `-var-file` names it.
mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}
mock_provider "mongodbatlas" {}

run "an_account_is_twelve_digits" {
  command = plan
  variables {
    account = "1234"
  }
  expect_failures = [var.account]
}

run "a_region_is_written_as_aws_does" {
  command = plan
  variables {
    region = "Frankfurt"
  }
  expect_failures = [var.region]
}

run "a_name_goes_into_a_buckets_name" {
  command = plan
  variables {
    environment = "Production_1"
  }
  expect_failures = [var.environment]
}

run "somebody_answers_for_it" {
  command = plan
  variables {
    owner = " "
  }
  expect_failures = [var.owner]
}

run "a_buckets_suffix_fits" {
  command = plan
  variables {
    bucket_suffix = "-Mine"
  }
  expect_failures = [var.bucket_suffix]
}

run "the_networks_do_not_overlap" {
  command = plan
  variables {
    network = { cidr = "10.0.0.0/16", mongodb_cidr = "10.0.8.0/21", zones = 3 }
  }
  expect_failures = [var.network]
}

run "the_network_begins_at_its_first_address" {
  command = plan
  variables {
    network = { cidr = "10.0.1.0/16", mongodb_cidr = "192.168.248.0/21", zones = 3 }
  }
  expect_failures = [var.network]
}

run "one_zone_is_too_few" {
  command = plan
  variables {
    network = { cidr = "10.0.0.0/16", mongodb_cidr = "192.168.248.0/21", zones = 1 }
  }
  expect_failures = [var.network]
}

run "the_clusters_own_network_is_taken" {
  command = plan
  variables {
    network = { cidr = "172.20.0.0/16", mongodb_cidr = "192.168.248.0/21", zones = 2 }
  }
  expect_failures = [var.network]
}

run "somebody_can_administer_the_cluster" {
  command = plan
  variables {
    access = { administrators = [], viewers = [], api_cidrs = [] }
  }
  expect_failures = [var.access]
}

run "the_api_is_not_open_to_the_internet" {
  command = plan
  variables {
    access = { administrators = ["arn:aws:iam::111122223333:role/a"], viewers = [], api_cidrs = ["0.0.0.0/0"] }
  }
  expect_failures = [var.access]
}

run "a_host_is_in_the_zone" {
  command = plan
  variables {
    hosts = { zone = "example.com", domain = "example.org", allowed_cidrs = ["10.0.0.0/8"], public = false }
  }
  expect_failures = [var.hosts]
}

run "signing_in_needs_a_group" {
  command = plan
  variables {
    sign_in = { issuer = "https://idp.example.com", operators_group = "", viewers_group = "wafer-viewers", proxy_image = "registry.example.com/oauth2-proxy@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
  }
  expect_failures = [var.sign_in]
}

run "a_line_does_not_take_the_platforms_own_folders" {
  command = plan
  variables {
    lines    = { mlflow = "mlflow" }
    partners = {}
  }
  expect_failures = [var.lines]
}

run "a_partner_writes_lines_that_there_are" {
  command = plan
  variables {
    partners = { fab = { principal = "arn:aws:iam::444455556666:role/sender", external_id = "12345678", writes = { etch = ["training"] } } }
  }
  expect_failures = [var.partners]
}

run "a_partner_writes_feeds_that_there_are" {
  command = plan
  variables {
    partners = { fab = { principal = "arn:aws:iam::444455556666:role/sender", external_id = "12345678", writes = { secom = ["everything"] } } }
  }
  expect_failures = [var.partners]
}

run "a_partner_is_not_everybody" {
  command = plan
  variables {
    partners = { fab = { principal = "*", external_id = "12345678", writes = { secom = ["training"] } } }
  }
  expect_failures = [var.partners]
}

run "two_partners_do_not_share_an_external_id" {
  command = plan
  variables {
    partners = {
      fab   = { principal = "arn:aws:iam::444455556666:role/sender", external_id = "12345678", writes = { secom = ["training"] } }
      other = { principal = "arn:aws:iam::777788889999:role/sender", external_id = "12345678", writes = { secom = ["training"] } }
    }
  }
  expect_failures = [var.partners]
}

run "the_platform_has_room" {
  command = plan
  variables {
    kubernetes = { version = "1.35", max_vcpus = 4, spot = false }
  }
  expect_failures = [var.kubernetes]
}

run "a_tier_of_atlas_that_can_be_peered" {
  command = plan
  variables {
    mongodb = { organization = "0123456789abcdef01234567", tier = "M0", storage_gb = 10, continuous_backup = false }
  }
  expect_failures = [var.mongodb]
}

run "storage_can_grow" {
  command = plan
  variables {
    postgresql = { version = "17", class = "db.t4g.medium", storage_gb = 50, max_storage_gb = 50, multi_az = true, backup_days = 14 }
  }
  expect_failures = [var.postgresql]
}

run "somebody_is_told_of_money" {
  command = plan
  variables {
    budget = { usd = 100, emails = [] }
  }
  expect_failures = [var.budget]
}

run "cloudwatch_keeps_logs_for_so_many_days" {
  command = plan
  variables {
    log_days = 100
  }
  expect_failures = [var.log_days]
}

run "a_chart_has_one_version" {
  command = plan
  variables {
    charts = {
      external_secrets = { repository = "https://charts.example.com", version = "1.x" }
      argocd           = { repository = "https://charts.example.com", version = "9.1.0" }
    }
  }
  expect_failures = [var.charts]
}

run "what_is_protected_does_not_sleep" {
  command = plan
  variables {
    awake     = false
    protected = true
  }
  expect_failures = [var.awake]
}

run "the_sign_in_is_an_image_by_its_digest" {
  command = plan
  variables {
    sign_in = { issuer = "https://idp.example.com", operators_group = "a", viewers_group = "b", proxy_image = "registry.example.com/oauth2-proxy:v7.15.5" }
  }
  expect_failures = [var.sign_in]
}
