FROM python:3.13-slim
WORKDIR /app
COPY <<EOF requirements.txt
flask==3.1.0
gunicorn==23.0.0
EOF
RUN pip install -r requirements.txt
COPY --chmod=644 <<'EOF' app.py
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    price = "$5"
    return f"it costs {price}"
EOF
RUN <<EOF python3
import compileall
compileall.compile_dir(".", quiet=1)
EOF
CMD ["gunicorn", "app:app"]
