"""From an empty account to a cluster, and back: what runs Terraform and does around it what Terraform cannot.

``python -m deploy.infra --help`` lists the commands; the runbook, ``deploy/README.md``, says when to use which.
"""
