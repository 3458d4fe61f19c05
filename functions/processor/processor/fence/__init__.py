"""One file, one process: decoders see one file each, and nothing else of the instance.

worker   the side of the function: a Fence runs a Job and answers for whatever becomes of it.
server   a small single-threaded program that has the libraries loaded and forks a process for each
         file. It is started by exec, so it holds no client, no thread and no token of the function.
confine  what a file's process may not do: take more memory or CPU than it was given, open anything,
         start anything, reach the network.
"""
