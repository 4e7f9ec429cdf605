"""What the engines other than the local one need beside Python: job servers, their class paths, workers."""
