from hypothesis import settings

# The same modest examples in every run: a failure here is a failure everywhere, and two cores are enough.
settings.register_profile("protocols", max_examples=40, derandomize=True, database=None, deadline=None)
settings.load_profile("protocols")
