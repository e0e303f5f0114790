mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  name    = "wafer-test"
  suffix  = "111122223333"
  key_arn = "arn:aws:kms:eu-central-1:111122223333:key/mock"
}

run "no_bucket_can_be_made_public" {
  assert {
    condition     = alltrue([for block in aws_s3_bucket_public_access_block.this : block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets])
    error_message = "A bucket could be opened to the world."
  }
  assert {
    condition     = toset(keys(aws_s3_bucket_public_access_block.this)) == toset(keys(aws_s3_bucket.this))
    error_message = "A bucket has no block of public access."
  }
  assert {
    condition     = alltrue([for rule in aws_s3_bucket_ownership_controls.this : rule.rule[0].object_ownership == "BucketOwnerEnforced"])
    error_message = "A partner's file could belong to the partner."
  }
}

run "all_is_encrypted_with_our_key_and_versioned" {
  assert {
    condition     = alltrue([for config in aws_s3_bucket_server_side_encryption_configuration.this : one(config.rule).apply_server_side_encryption_by_default[0].kms_master_key_id == var.key_arn])
    error_message = "A bucket is encrypted with another key."
  }
  assert {
    condition     = length(aws_s3_bucket_versioning.this) == 3 && alltrue([for config in aws_s3_bucket_versioning.this : config.versioning_configuration[0].status == "Enabled"])
    error_message = "A bucket forgets old versions."
  }
}

run "nothing_that_partners_sent_expires" {
  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.this["landing"].rule : length(rule.expiration) + length(rule.noncurrent_version_expiration) == 0])
    error_message = "A landed file, or an old version of one, would vanish."
  }
}

run "leftovers_of_trainings_and_printed_lines_expire" {
  assert {
    condition     = { for rule in aws_s3_bucket_lifecycle_configuration.this["lake"].rule : rule.id => rule.expiration[0].days if length(rule.expiration) > 0 } == { runs = 14 }
    error_message = "Something else of the lake expires than `runs/`."
  }
  assert {
    condition     = { for rule in aws_s3_bucket_lifecycle_configuration.this["logs"].rule : rule.id => rule.expiration[0].days if length(rule.expiration) > 0 } == { dagster = 30 }
    error_message = "Logs do not expire as they should."
  }
}

run "files_that_land_are_events" {
  assert {
    condition     = aws_s3_bucket_notification.landing.eventbridge == true
    error_message = "No events."
  }
}
