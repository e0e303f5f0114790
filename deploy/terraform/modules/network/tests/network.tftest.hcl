mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:111122223333:log-group:mock" }
  }
}

variables {
  name        = "wafer-test"
  region      = "eu-central-1"
  account     = "111122223333"
  cidr        = "10.0.0.0/16"
  zones       = 3
  nat         = true
  log_days    = 30
  log_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/mock"
}

run "one_nat_gateway_serves_all_zones" {
  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_subnet.private) == 3 && length(aws_subnet.public) == 3
    error_message = "There are ${length(aws_nat_gateway.this)} NAT gateways."
  }
}

run "no_subnet_overlaps_with_another" {
  assert {
    condition     = length(distinct([for subnet in concat(values(aws_subnet.private), values(aws_subnet.public)) : subnet.cidr_block])) == 6
    error_message = "Two subnets have one network."
  }
  assert {
    condition     = alltrue([for subnet in concat(values(aws_subnet.private), values(aws_subnet.public)) : subnet.map_public_ip_on_launch != true])
    error_message = "Something would get a public address by itself."
  }
}

run "no_pod_gets_an_address_of_the_load_balancers_network" {
  assert {
    condition     = output.public_cidr == "10.0.240.0/20"
    error_message = "The load balancer's network is ${output.public_cidr}."
  }
  assert {
    condition     = alltrue([for subnet in values(aws_subnet.public) : cidrsubnet("${split("/", subnet.cidr_block)[0]}/20", 0, 0) == output.public_cidr])
    error_message = "A public subnet is outside of it."
  }
  assert {
    condition     = alltrue([for subnet in values(aws_subnet.private) : subnet.cidr_block != output.public_cidr && endswith(subnet.cidr_block, "/20")])
    error_message = "A private subnet is inside of it."
  }
}

run "the_group_of_whatever_names_none_lets_nothing_through" {
  assert {
    condition     = length(coalesce(aws_default_security_group.none.ingress, [])) == 0 && length(coalesce(aws_default_security_group.none.egress, [])) == 0
    error_message = "The default group has rules."
  }
}

run "asleep_there_is_no_nat_gateway_to_pay_for" {
  variables {
    nat = false
  }
  assert {
    condition     = length(aws_nat_gateway.this) + length(aws_eip.nat) + length(aws_route.nat) == 0
    error_message = "Something of the NAT gateway stays."
  }
}

run "a_region_without_enough_zones_is_refused" {
  command = plan
  override_data {
    target = data.aws_availability_zones.here
    values = { names = ["xx-west-1a", "xx-west-1b"] }
  }
  expect_failures = [aws_vpc.this]
}
