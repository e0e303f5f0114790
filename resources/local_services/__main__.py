"""The process of a supervisor; `resources.local_services.services` starts it."""

from resources.local_services.supervisor import main

if __name__ == "__main__":
    main()
