mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }
}

variables {
  name        = "wafer-test-partner-fab"
  principal   = "arn:aws:iam::444455556666:role/sender"
  external_id = "a-secret-handshake"
  prefixes    = ["secom/training/", "fab-2/etch/prediction/"]
  bucket_arn  = "arn:aws:s3:::wafer-test-landing"
  key_arn     = "arn:aws:kms:eu-central-1:111122223333:key/data"
}

run "a_partner_writes_below_its_own_prefixes_and_reads_nothing" {
  assert {
    condition     = data.aws_iam_policy_document.write.statement[0].actions == toset(["s3:PutObject", "s3:AbortMultipartUpload"])
    error_message = "A partner may do more than write."
  }
  assert {
    condition     = data.aws_iam_policy_document.write.statement[0].resources == toset(["arn:aws:s3:::wafer-test-landing/secom/training/*", "arn:aws:s3:::wafer-test-landing/fab-2/etch/prediction/*"])
    error_message = "A partner may write elsewhere."
  }
}

run "nobody_comes_in_a_partners_name_without_its_external_id" {
  assert {
    condition     = one(data.aws_iam_policy_document.trust.statement[0].condition).values == tolist(["a-secret-handshake"]) && one(data.aws_iam_policy_document.trust.statement[0].principals).identifiers == toset(["arn:aws:iam::444455556666:role/sender"])
    error_message = "Others may take on the partner's role."
  }
}
