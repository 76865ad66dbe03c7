FROM base
RUN --device=vendor.com/gpu=0 true
