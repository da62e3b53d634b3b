"""What is run in a process of its own is no test of this one."""

collect_ignore = ["cpython_executor.py", "dask_on_armoflow.py", "joblib_on_armoflow.py"]
