# Places for secrets, made without a value: `make secrets` fills them, so that none is ever in a state.
resource "aws_secretsmanager_secret" "this" {
  for_each    = var.secrets
  name        = "${var.name}/${each.key}"
  description = each.value
  kms_key_id  = var.key_arn
  # One that is destroyed on purpose goes at once, or its name would stay taken for a month.
  recovery_window_in_days = var.protected ? 30 : 0
}
