"""The programs: each is a plan (what to do), a function that workers run, and a report; `driver` joins them.

They use only the public doors of procession, so each is also an example of how to use it.
"""
