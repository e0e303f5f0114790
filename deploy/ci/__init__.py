"""What the pipeline does between a commit and a cluster, as commands that run on a laptop too.

``python -m deploy.ci --help`` lists them; the ``Jenkinsfile`` only says in which order and where.
"""
