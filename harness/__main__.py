import sys

from harness.launch.run import main

if __name__ == "__main__":
    sys.exit(main())
