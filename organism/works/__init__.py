"""The running parts of an organism: what comes in, what is kept on a disk, who hears of it, and how all of it is put together."""
