"""The servers a laptop runs instead of AWS S3, MongoDB Atlas and a remote MLflow.

SeaweedFS, SecantusDB and ``mlflow server`` run as processes of their own, listen on 127.0.0.1 unless the settings
say otherwise, and keep all their state in the state folder. One supervisor process per state folder owns them: it
starts them side by side, checks that each really works, starts again what dies or hangs, and stops them all when it
is told to, when one dies too often, or when the process that started it is gone. The supervisor holds a lock on the
state folder, and its servers carry the folder's name in their environment, so that what a crash left behind is found
and ended.

S3 and MongoDB ask for generated credentials. MLflow and the gRPC ports of SeaweedFS have none: they trust
whoever can reach the address.

What others use is here. How the platform talks to the servers is in `resources.s3`, `resources.mongo` and
`resources.mlflow`, which know nothing of where they run.
"""

from resources.local_services.ports import free_port
from resources.local_services.service import SERVICES, Away, ServiceError, ServiceName, ServiceStatus
from resources.local_services.services import LocalServices

__all__ = ["SERVICES", "Away", "LocalServices", "ServiceError", "ServiceName", "ServiceStatus", "free_port"]
