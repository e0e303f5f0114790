variable "name" {
  type        = string
  description = "Name of the budget."
}

variable "budget_usd" {
  type        = number
  description = "US dollars a month for the whole account: a budget by tag counts nothing until the tag is activated."
}

variable "emails" {
  type        = list(string)
  description = "Who is told."
}
