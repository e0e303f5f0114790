# Keys of our own for what is stored, so that reading needs a right to the key besides that to the store.
locals {
  purposes = {
    data    = "buckets, images and PostgreSQL"
    secrets = "Secrets Manager and the cluster's secrets"
    logs    = "log groups"
  }
}

data "aws_iam_policy_document" "key" {
  for_each = local.purposes

  # IAM decides, as for everything else; without this nobody could ever change the key again.
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["arn:aws:iam::${var.account}:root"]
    }
  }

  dynamic "statement" {
    for_each = each.key == "logs" ? [1] : []
    content {
      sid       = "Logs"
      actions   = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
      resources = ["*"]
      principals {
        type        = "Service"
        identifiers = ["logs.${var.region}.amazonaws.com"]
      }
      condition {
        test     = "ArnLike"
        variable = "kms:EncryptionContext:aws:logs:arn"
        values   = ["arn:aws:logs:${var.region}:${var.account}:log-group:*"]
      }
    }
  }
}

resource "aws_kms_key" "this" {
  for_each                = local.purposes
  description             = "${var.name}: ${each.value}"
  policy                  = data.aws_iam_policy_document.key[each.key].json
  enable_key_rotation     = true
  deletion_window_in_days = 30
}

resource "aws_kms_alias" "this" {
  for_each      = local.purposes
  name          = "alias/${var.name}-${each.key}"
  target_key_id = aws_kms_key.this[each.key].key_id
}
